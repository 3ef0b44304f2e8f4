"""What any party that may spend a voucher runs and stores: node and clearinghouse alike.

`decisions` decides one request over the books as they stand; `books` loads and saves a batch; `schema` names the
tables. It knows vouchers and money, which `chassis` must not, and imports neither `node` nor `clearinghouse`.
"""
