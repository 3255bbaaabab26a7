"""The renderer of synthetic chest X-rays; `draw.draw_study` draws a `data.synthetic.scene.Scene`.

Order: canvas (attenuation) < anatomy (outlines) < bones, frontal, findings, devices, lateral < draw (a whole study).
"""
