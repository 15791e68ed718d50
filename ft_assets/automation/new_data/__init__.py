"""New data at the source asks for runs, each version of each drop once.

``sensor`` is the Dagster sensor, ``tick`` the steps of one look, ``commits`` those of them that are
about base models, ``looking`` what is known while it goes on, ``look`` what is decided in it (no
input or output), ``state`` what one look leaves for the next one, ``ledger`` what has been asked
for, ``observe`` what is read from the source, ``limits`` how much may run, ``rows`` whether enough
of it is new, ``reasons`` what people read in the list of ticks.
"""
