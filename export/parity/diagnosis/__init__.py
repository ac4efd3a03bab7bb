"""What is wrong with a graph set, in words: its files read beside the bundle's weights and configuration."""
