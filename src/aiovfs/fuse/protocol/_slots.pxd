# Reach the `__slots__` of ordinary Python classes from C, at the speed of a struct.
#
# The message and reply classes are Python classes, for editors, type checkers and subclasses. A slot is a pointer at a
# fixed offset of the object, and the class's member descriptor tells the offset: so C can fill and read them without
# a look-up. `slot_offset` refuses whatever is not such a slot; offsets hold for subclasses as well.
#
# Rules: `put_slot` is for a fresh object only (the old value is not released). `get_slot` gives a borrowed pointer,
# NULL when the slot was never set; check the type of the object before.

from cpython.object cimport PyTypeObject

cdef extern from *:
    """
    #include <structmember.h>

    static Py_ssize_t aiovfs_slot_offset(PyObject *cls, PyObject *name)
    {
        Py_ssize_t offset = -1;
        PyObject *descriptor = PyObject_GetAttr(cls, name);
        if (descriptor == NULL)
            return -1;
        if (Py_TYPE(descriptor) == &PyMemberDescr_Type) {
            PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
            if (member->type == T_OBJECT_EX)
                offset = member->offset;
        }
        Py_DECREF(descriptor);
        if (offset < 0)
            PyErr_Format(PyExc_ImportError, "%R.%U is not a slot", cls, name);
        return offset;
    }

    static inline PyObject *aiovfs_new_instance(PyTypeObject *cls)
    {
        return cls->tp_alloc(cls, 0);
    }

    static inline void aiovfs_put_slot(PyObject *instance, Py_ssize_t offset, PyObject *value)
    {
        Py_INCREF(value);
        *(PyObject **)((char *)instance + offset) = value;
    }

    static inline PyObject *aiovfs_get_slot(PyObject *instance, Py_ssize_t offset)
    {
        return *(PyObject **)((char *)instance + offset);
    }
    """
    ctypedef struct PyObject
    Py_ssize_t slot_offset "aiovfs_slot_offset"(object cls, object name) except -1
    object new_instance "aiovfs_new_instance"(PyTypeObject *cls)
    void put_slot "aiovfs_put_slot"(object instance, Py_ssize_t offset, object value) noexcept
    PyObject *get_slot "aiovfs_get_slot"(object instance, Py_ssize_t offset) noexcept
