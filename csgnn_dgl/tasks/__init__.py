"""What the models are trained for: a folder for each task, with its data, module, evaluation, report and figures."""
