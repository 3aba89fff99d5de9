/** The failure of a response that is not one well-formed HTTP/1.1 message, or is beyond a limit. Its text has no byte of the response. */
export class ResponseSyntaxError extends Error {
  override readonly name = "ResponseSyntaxError";
  readonly code: "UPSTREAM_MALFORMED" | "UPSTREAM_HEADERS_OVERFLOW" | "UPSTREAM_CUT";

  constructor(code: ResponseSyntaxError["code"], problem: string) {
    super(problem);
    this.code = code;
  }
}

export function malformed(problem: string): ResponseSyntaxError {
  return new ResponseSyntaxError("UPSTREAM_MALFORMED", problem);
}

export function isCut(error: unknown): boolean {
  return error instanceof ResponseSyntaxError && error.code === "UPSTREAM_CUT";
}
