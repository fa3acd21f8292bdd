package image

import _ "crypto/sha256" // for DigestOf
