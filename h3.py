import numpy as np, tempfile
from pathlib import Path
from kneeformer.data.storage import save_case, open_case, CaseRecord, Origin
d=Path(tempfile.mkdtemp())
rec=lambda s: CaseRecord(origin=Origin(settings=s,files='f'),shape=(8,64,64),spacing=(1,1,1),orientation='SPL',points={})
a=np.random.default_rng(0).normal(size=(1,8,64,64)).astype(np.float32)
save_case(d,'x',a,None,rec('a'),(4,32,32))
c=open_case(d,'x')
print(c.image[:,:4,:32,:32].mean(), a[:,:4,:32,:32].mean())
b=a*3+5
save_case(d,'x',b,None,rec('b'),(4,32,32))
for s in [(slice(0,4),slice(0,32),slice(0,32)),(slice(4,8),slice(0,32),slice(0,32)),(slice(0,4),slice(32,64),slice(0,32))]:
    try: v=c.image[(slice(None),*s)]; print('read', v.mean(), 'old', a[(slice(None),*s)].mean(), 'new', b[(slice(None),*s)].mean(), np.array_equal(v,a[(slice(None),*s)]), np.array_equal(v,b[(slice(None),*s)]))
    except Exception as e: print(type(e), e)
