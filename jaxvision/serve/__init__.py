"""`--mode=serve`: trained models over HTTP, with a live camera and a page (extra [serve])."""
