/** The names that belong to an AWS signature: a caller's own signature is removed before the gateway signs. */

/** The begin of an Authorization header with a signature, before the access key id. */
export const SIGNATURE_START = "AWS4-HMAC-SHA256 Credential=";

/** As headers, or as parameters of a presigned URL. */
export const SIGNATURE_NAMES: readonly string[] = [
  ...["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"],
  ...["X-Amz-Security-Token", "X-Amz-Content-Sha256"],
];
