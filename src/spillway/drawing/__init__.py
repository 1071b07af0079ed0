"""What pages with plots are made of: escaped markup, axes, figures, and one file that loads nothing."""
