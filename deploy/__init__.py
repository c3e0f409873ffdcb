"""What runs offramp elsewhere: the network lab, service files, dashboards."""
