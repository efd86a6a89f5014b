#ifndef LITESTREAM_LINKED_H
#define LITESTREAM_LINKED_H

const void *ls_linked(void);

#endif
