"""Where the model looked: attention maps and occlusion sensitivity."""
