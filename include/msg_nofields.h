/*
 * msg_nofields.h -- for a pass over msg.def that wants the messages' names
 * and types only (no include guard, on purpose).  MSG_BEGIN and MSG_END are
 * the includer's.
 */
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define I64(f)
#define MD5(f)
#define STR(f, max)
#define REC(type, f)
#define LIST(type, f, max)
#define LIST_U32(f, max)
#define LIST_U64(f, max)
#define REC_BEGIN(name)
#define REC_END(name)
