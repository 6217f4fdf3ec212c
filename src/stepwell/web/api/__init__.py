"""The HTTP API: the verbs of an app as JSON, under `/api`, with an OpenAPI document.

`operations` is the table of all there is; addresses, checks of what is given, the document and the page for people are made from it.
"""
