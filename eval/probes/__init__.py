"""Classification of two statements by the decoder or by a linear probe."""
