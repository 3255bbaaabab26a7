"""Decode JPEG lossless frames of DICOM with gdcm, in a separate process (60 ms to start).

gdcm is the only free decoder for them, but a damaged frame can crash its process. So this file is also the program of
that process: `python jpeg_lossless.py WIDTH HEIGHT ALLOCATED STORED SIGNED SYNTAX` reads the frame from standard input
and writes the pixels to standard output. It imports nothing of the project.
"""

import subprocess
import sys

SECONDS = 60


def decode_jpeg_lossless(
    frame: bytes, *, width: int, height: int, bits_allocated: int, bits_stored: int, signed: bool, syntax: str
) -> bytes:
    """The pixels, little-endian, row by row. `syntax` is the UID of the transfer syntax.

    Raises:
        ValueError: the frame is damaged.
    """
    numbers = (width, height, bits_allocated, bits_stored, int(signed))
    # -I: keep this folder off the module path, so that none of its files hides a library.
    command = [sys.executable, "-I", __file__, *map(str, numbers), syntax]
    try:
        done = subprocess.run(command, input=frame, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the decoder did not finish within {SECONDS} s") from error
    if done.returncode or len(done.stdout) != width * height * bits_allocated // 8:
        raise ValueError("the decoder failed")
    return done.stdout


def _decode(width: str, height: str, allocated: str, stored: str, signed: str, syntax: str) -> None:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(width), int(height), 1))
    image.SetDataElement(element)
    monochrome = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, int(allocated), int(stored), int(stored) - 1, int(signed)))
    # gdcm returns bytes as text.
    sys.stdout.buffer.write(image.GetBuffer().encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    _decode(*sys.argv[1:])
