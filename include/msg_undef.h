/* msg_undef.h -- end one pass over msg.def (no include guard, on purpose). */
#undef U8
#undef U16
#undef U32
#undef U64
#undef I64
#undef MD5
#undef STR
#undef REC
#undef LIST
#undef LIST_U32
#undef LIST_U64
#undef REC_BEGIN
#undef REC_END
#undef MSG_BEGIN
#undef MSG_END
