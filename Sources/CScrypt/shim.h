// OpenSSL's libcrypto, for EVP_PBE_scrypt only.
#include <openssl/err.h>
#include <openssl/evp.h>
