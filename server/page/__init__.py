"""The page for people at `/`: HTML, CSS and JavaScript modules as they are, without a build step; see routes.py."""
