"""The admin's own pf.conf: read to see whether bHype's anchors are asked, changed on request only."""
