// Which source the library was compiled from.

#ifndef SOURCE_SHA256
#define SOURCE_SHA256 ""
#endif

extern "C" const char* source_sha256() { return SOURCE_SHA256; }
