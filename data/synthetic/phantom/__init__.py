"""The renderer of synthetic chest X-rays; `draw.draw_study` draws a `data.synthetic.scene.Scene`.

canvas (attenuation) <- anatomy (whose chest) <- frontal, bones, lateral (the healthy chest) and patterns, findings,
pleura, devices, lateral_findings (what is drawn into it) <- film (exposure) <- draw (a whole study)
"""
