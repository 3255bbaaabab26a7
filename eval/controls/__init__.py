"""What a score is compared with: constant, random and retrieved reports, shuffled and blank images."""
