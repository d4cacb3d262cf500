"""What Locust's users do, a file for each scenario; `loadtest.load` runs them."""
