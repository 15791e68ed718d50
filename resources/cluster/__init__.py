"""How the Kubernetes API is reached, for whatever part of the platform talks to it."""
