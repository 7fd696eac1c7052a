"""SOL001 (TOSCA): service templates to the information model, whatever release or draft they were written to."""
