/**
 * How the body of a request is signed: by its hash, which needs all of it in memory, or by a word that stands for a body without one.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 * Invariant: what is decided here is what the signature says; a body that cannot be signed as configured is refused before it is sent.
 */
import type { IncomingMessage } from "node:http";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { DEFAULT_SIGNED_BODY_BYTES } from "../../config/aws-schema.ts";
import { namesIn } from "../../config/sign-schema.ts";
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import { isObjectStore } from "./canonical-request.ts";
import { SignedChunks } from "./signed-chunks.ts";

const UNSIGNED = "UNSIGNED-PAYLOAD";
/** The caller's chunks, without signatures and with a checksum after them. */
const UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const SIGNED_CHUNKS = /^STREAMING-AWS4-(?:HMAC-SHA256|ECDSA-P256-SHA256)-PAYLOAD(?:-TRAILER)?$/;

/** Headers of the encoding that is removed, and of a checksum in its trailers. */
const OF_SIGNED_CHUNKS: ReadonlySet<string> = new Set([
  ...["x-amz-decoded-content-length", "x-amz-trailer", "x-amz-sdk-checksum-algorithm"],
]);

/** Of a service. */
export interface PayloadRules {
  readonly serviceKey: string;
  /** The caller's body may have signatures of AWS, and the word for an unsigned body exists. */
  readonly isAws: boolean;
  readonly isSigned: boolean;
  /** Of a signed body. */
  readonly maxBytes: number;
  /** A larger body may be sent unsigned. */
  readonly mayBeUnsigned: boolean;
}

interface SignedService {
  readonly key: string;
  readonly auth?: AuthDefinition | undefined;
  readonly baseUrl: string;
  readonly versionedBaseUrls: Readonly<Record<string, string>>;
}

/** Undefined for a service whose requests are not signed. */
export function createPayloadRules({ key, auth, baseUrl, versionedBaseUrls }: SignedService): PayloadRules | undefined {
  const isAws = auth?.type === "aws-sigv4";
  if (auth === undefined || !(isAws || signsBody(auth))) return undefined;
  const isHttps = [baseUrl, ...Object.values(versionedBaseUrls)].every((url) => /^https:/i.test(url));
  return {
    serviceKey: key,
    isAws,
    isSigned: auth.payload !== "unsigned",
    maxBytes: auth.maxSignedBodyBytes ?? DEFAULT_SIGNED_BODY_BYTES,
    mayBeUnsigned: isHttps && isObjectStore(auth.service ?? ""),
  };
}

const signsBody = ({ sign }: AuthDefinition) => sign !== undefined && namesIn(sign.message).includes("body");

/** Of a request, as its client sends it. */
interface SentPayload {
  readonly kind: "plain" | "signed-chunks" | "unsigned-chunks" | "events";
  /** Bytes of the body without its chunks; undefined where they are not announced. */
  readonly bytes: number | undefined;
}

function readPayload(
  { isAws }: PayloadRules,
  { req, announcedBytes }: Pick<Exchange, "req" | "announcedBytes">,
): SentPayload {
  const word = isAws ? req.headers["x-amz-content-sha256"] : undefined;
  if (typeof word !== "string" || !word.startsWith("STREAMING-")) return { kind: "plain", bytes: announcedBytes };
  if (word === UNSIGNED_CHUNKS) return { kind: "unsigned-chunks", bytes: announcedBytes };
  if (!SIGNED_CHUNKS.test(word)) return { kind: "events", bytes: announcedBytes };
  return { kind: "signed-chunks", bytes: decodedLength(req) };
}

function decodedLength({ headers }: IncomingMessage): number | undefined {
  const length = String(headers["x-amz-decoded-content-length"] ?? "");
  return /^\d{1,15}$/.test(length) ? Number(length) : undefined;
}

/** The refusal of a body that cannot be signed; undefined where the request may continue. */
export function decidePayload(rules: PayloadRules, exchange: Exchange): GatewayError | undefined {
  const { kind, bytes } = readPayload(rules, exchange);
  if (!exchange.hasBody) return kind === "plain" ? undefined : decideNoChunks(exchange);
  if (kind === "events") {
    return new GatewayError("NOT_IMPLEMENTED", {
      message: "The messages of an event stream have the client's own signatures, which the gateway cannot replace.",
      hint: "Send this request to AWS directly.",
    });
  }
  if (kind === "signed-chunks" && bytes === undefined) {
    return new GatewayError("INVALID_REQUEST", {
      message: "A body in signed chunks needs X-Amz-Decoded-Content-Length with the number of its bytes.",
    });
  }
  const mustBeSigned = rules.isSigned && !rules.mayBeUnsigned && kind !== "unsigned-chunks";
  return mustBeSigned && (bytes ?? 0) > rules.maxBytes ? tooLarge(rules) : undefined;
}

/** Without the refusal the upstream would store an empty body. */
function decideNoChunks({ req }: Exchange): GatewayError | undefined {
  const length = decodedLength(req) ?? 0;
  if (length === 0) return undefined;
  return new GatewayError("INVALID_REQUEST", {
    message: `The request has no body, and X-Amz-Decoded-Content-Length announced ${length} ${length === 1 ? "byte" : "bytes"}.`,
  });
}

function tooLarge({ serviceKey, maxBytes, isAws }: PayloadRules): GatewayError {
  const unsigned = ' Where the upstream accepts unsigned bodies, `auth.payload: "unsigned"` sends bodies of any size.';
  return new GatewayError("PAYLOAD_TOO_LARGE", {
    message: `${serviceKey} signs bodies of at most ${maxBytes} bytes.`,
    hint: `Raise \`auth.maxSignedBodyBytes\` for ${serviceKey}.${isAws ? unsigned : ""}`,
  });
}

/** Of one request. */
export interface Payload {
  /** Stands for the hash of the body; undefined for a signed one. Set once the body is buffered, or known to be too large. */
  word: string | undefined;
  /** Bytes of the body that are buffered to be signed; 0 where it streams. */
  readonly bufferedBytes: number;
  /** As the upstream receives it. */
  readonly contentLength: number | undefined;
  /** Reads the client's signed chunks; undefined where the body is passed on as it is. */
  readonly chunks: SignedChunks | undefined;
}

/** @param headers a flat list; headers of an encoding that the gateway removes are removed. */
export function planPayload(rules: PayloadRules, exchange: Exchange, headers: string[]): Payload {
  const { kind, bytes } = readPayload(rules, exchange);
  if (kind === "signed-chunks") removeEncoding(headers);
  const mustStream = !rules.isSigned || (rules.mayBeUnsigned && (bytes ?? 0) > rules.maxBytes);
  const streamed = kind === "unsigned-chunks" ? UNSIGNED_CHUNKS : mustStream ? UNSIGNED : undefined;
  return {
    word: exchange.hasBody ? streamed : undefined,
    bufferedBytes: streamed === undefined ? rules.maxBytes : 0,
    contentLength: bytes,
    chunks: kind === "signed-chunks" && exchange.hasBody ? new SignedChunks(bytes ?? 0) : undefined,
  };
}

/** For a body that is buffered to its end, or undefined for one that turned out to be too large. @throws GatewayError */
export function settlePayload(rules: PayloadRules, payload: Payload, body: Buffer | undefined): void {
  if (payload.word !== undefined || (body !== undefined && body.length <= rules.maxBytes)) return;
  if (!rules.mayBeUnsigned) throw tooLarge(rules);
  payload.word = UNSIGNED;
}

function removeEncoding(headers: string[]): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    const name = (headers[i] as string).toLowerCase();
    if (OF_SIGNED_CHUNKS.has(name)) headers.splice(i, 2);
    if (name !== "content-encoding") continue;
    const codings = (headers[i + 1] as string).split(",").map((coding) => coding.trim());
    const kept = codings.filter((coding) => coding.toLowerCase() !== "aws-chunked").join(", ");
    if (kept === "") headers.splice(i, 2);
    else headers[i + 1] = kept;
  }
}

/** The refusal of a body whose chunks are malformed. */
export function malformedChunks(error: unknown): GatewayError {
  return new GatewayError("INVALID_REQUEST", {
    message: `The body is not in the signed chunks that X-Amz-Content-Sha256 announces: it has ${(error as Error).message}.`,
    hint: "Send the body in chunks as in https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, or as it is.",
  });
}
