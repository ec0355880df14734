def write_results(plans, out): return ""
