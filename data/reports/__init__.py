"""The text of reports: sections, sentences, cleaning, de-identification, near duplicates and labels."""
