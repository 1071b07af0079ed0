"""The files of the page that `GET /dashboard` answers with."""
