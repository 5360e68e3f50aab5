"""The fault table beside the rivals, and 10,000 kills during a million tasks.

x
"""
import sys
sys.path.insert(0,'tests/stress')
from _soak import *
if __name__=="__main__":
    a=sys.argv
    if a[1]=="soak": soak(a[2],int(a[3]),int(a[4]),float(a[5]),1,len(a)<7)
    if a[1]=="churn": churn(a[2],int(a[3]))
    if a[1]=="orphans": orphans(a[2],int(a[3]),1)
