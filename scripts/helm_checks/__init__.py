"""What scripts/check_helm.py asserts about the charts, by subject."""
