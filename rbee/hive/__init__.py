"""The hive: keeps the processes and the files of one machine.

`supervisor` owns the workers, `catalog` what is on disk, `downloads` what is being fetched,
`devices` what the machine can run on; `operations` says what each operation does with them. No
prompt and no token ever passes through here.
"""
