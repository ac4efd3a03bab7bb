"""Engines in processes of their own: started, spoken to, and stopped from the web server's process."""
