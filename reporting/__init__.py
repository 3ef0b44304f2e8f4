"""What departments open, print and sign: statements and campaign reports as workbooks and pages.

Node and clearinghouse show the same. It renders figures that others worked out and decides nothing.
"""
