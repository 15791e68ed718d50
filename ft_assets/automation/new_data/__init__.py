"""New data at the source asks for runs, each version of each drop once.

``sensor`` is the Dagster sensor, ``tick`` the steps of one look, ``look`` what is decided in it (no
input or output), ``state`` what one look leaves for the next one, ``ledger`` what has been asked
for, ``observe`` what is read from the source, ``limits`` how much may run, ``reasons`` what people
read in the list of ticks.
"""
