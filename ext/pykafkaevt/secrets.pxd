# The byte that `%XX` at i stands for, -1 when there is none before `last`.
cdef int encoded_byte(str text, Py_ssize_t i, Py_ssize_t last) noexcept

# (the text without its secrets, shortened to the characters around `position`; where `position` falls in it), of the
# socket whose brokers begin at `start`. in_properties: the brokers and the topic hold no user and password.
cdef tuple masked(str text, Py_ssize_t start, Py_ssize_t position, bint in_properties)
