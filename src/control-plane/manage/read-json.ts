/**
 * Reads the JSON body of a change.
 * Invariant: only bodies with a JSON content type are read, because a web page can send any other type without a preflight.
 * Size and time are limited.
 */
import type { IncomingMessage } from "node:http";
import type { Context, MiddlewareHandler } from "hono";
import { GatewayError } from "../../errors.ts";
import type { CallerEnv } from "../require-caller.ts";

/** Many times the size of the largest valid service. */
const BODY_BYTES_LIMIT = 256 * 1024;

/** For the whole body. */
const BODY_TIMEOUT_MS = 30_000;

/** No valid configuration has this depth. */
const DEEPEST = 32;

/** Members and entries of the whole body: four times those of the largest valid configuration. Each may need a line of the response. */
const VALUES_LIMIT = 2_000;

const JSON_TYPE = /^application\/(?:merge-patch\+)?json(?:\s*;.*)?$/i;

/** Refuses bodies of other types, also on routes that use no body. */
export function requireJson(): MiddlewareHandler<CallerEnv> {
  return async (context, next) => {
    const { headers } = context.env.incoming;
    const hasBody = headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
    const isEncoded = (headers["content-encoding"] ?? "identity").toLowerCase() !== "identity";
    if (hasBody && (isEncoded || !JSON_TYPE.test(headers["content-type"] ?? ""))) {
      throw new GatewayError("UNSUPPORTED_MEDIA_TYPE", {
        headers: ["Accept", "application/json", "Connection", "close"],
      });
    }
    await next();
  };
}

/** @throws GatewayError VALIDATION_ERROR, PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT, or INVALID_API_KEY. @param withinMs time limit for the whole body. */
export async function readJson(
  context: Pick<Context<CallerEnv>, "env" | "get">,
  withinMs = BODY_TIMEOUT_MS,
): Promise<unknown> {
  const { incoming, outgoing } = context.env;
  // Sent only after all checks: a client that was refused before this point does not need to send the body.
  if (incoming.headers.expect !== undefined && incoming.httpVersionMinor > 0) outgoing.writeContinue();
  const text = await readText(incoming, withinMs);
  // The client may take long to send the body. A key that was revoked meanwhile must not create another key.
  if (context.get("caller").issued?.isOver) {
    throw new GatewayError("INVALID_API_KEY", {
      message: "The key was revoked or lost permissions after the request began.",
      headers: ["WWW-Authenticate", "Bearer"],
    });
  }
  const excess = excessOf(text);
  if (excess !== undefined) throw invalidBody(excess);
  try {
    return JSON.parse(text, refusePrototype);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw invalidBody(text.trim() === "" ? "nothing" : "text that is not JSON");
  }
}

function invalidBody(found: string): GatewayError {
  return new GatewayError("VALIDATION_ERROR", {
    message: `The body is not valid: found ${found}, allowed: one JSON value.`,
    extra: { details: { body: [`found ${found}, allowed: one JSON value`] } },
  });
}

/** Code that copies the object would silently drop a member of this name. */
function refusePrototype(name: string, value: unknown): unknown {
  if (name === "__proto__") throw invalidBody('a member "__proto__"');
  return value;
}

async function readText(req: IncomingMessage, withinMs: number): Promise<string> {
  const tooLarge = () =>
    new GatewayError("PAYLOAD_TOO_LARGE", {
      message: `The body is larger than ${BODY_BYTES_LIMIT} bytes, the limit of this route.`,
      hint: "Send a smaller body.",
      headers: ["Connection", "close"],
    });
  if (Number(req.headers["content-length"] ?? 0) > BODY_BYTES_LIMIT) throw tooLarge();
  let timer: NodeJS.Timeout | undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  const whole = new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => {
      reject(new GatewayError("REQUEST_TIMEOUT", { headers: ["Connection", "close"] }));
    }, withinMs);
    req.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > BODY_BYTES_LIMIT) reject(tooLarge());
      else chunks.push(chunk);
    });
    req.once("end", resolve);
    // The client closed the connection or sent a malformed body. This is not an error of the gateway.
    for (const event of ["error", "close"]) req.once(event, () => reject(new GatewayError("INVALID_REQUEST")));
  });
  try {
    await whole;
  } finally {
    clearTimeout(timer);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw invalidBody("text that is not UTF-8");
  }
}

/** Checked before parsing, because code that walks over the value recurses. The time is linear in the length of the text. */
function excessOf(text: string): string | undefined {
  let depth = 0;
  let values = 1;
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (isInString) {
      if (character === "\\") i += 1;
      else if (character === '"') isInString = false;
    } else if (character === '"') isInString = true;
    else if (character === "[" || character === "{") depth += 1;
    else if (character === "]" || character === "}") depth -= 1;
    else if (character === ",") values += 1;
    if (depth > DEEPEST) return `a value that is nested more than ${DEEPEST} deep`;
    if (values > VALUES_LIMIT) return `more than ${VALUES_LIMIT} members and entries`;
  }
  return undefined;
}
