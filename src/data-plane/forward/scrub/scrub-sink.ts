/**
 * Between an attempt and the sink that writes to the client: masks the secrets in a body of text, and corrects the headers.
 * Invariant: a body of text that cannot be searched is refused before anything of it is sent; the next sink sets the pace.
 */
import { GatewayError } from "../../../errors.ts";
import type { ResponseHead, ResponseSink } from "../response-sink.ts";
import type { ResponseHeaders } from "../transport/response-fields.ts";
import type { Flow } from "../transport/transport-contract.ts";
import { BodyStream } from "./body-stream.ts";
import type { Scanner } from "./scanner.ts";
import { type EntityTags, scrubFields } from "./scrubbed-fields.ts";
import { isTextLike, unsearchableCharset } from "./text-like.ts";

export interface ScrubbedExchange {
  readonly method: string;
}

export interface ScrubbedDeadline {
  /** A chunk arrived. */
  touch(): void;
}

export interface ScrubSinkParts {
  readonly exchange: ScrubbedExchange;
  readonly deadline: ScrubbedDeadline;
  readonly serviceKey: string;
  /** Undefined where there is nothing to search for; with all secrets from the beginning of the response until now. */
  readonly scanner: () => Scanner | undefined;
  readonly tags: EntityTags;
}

const KNOWN_CODINGS = /^(?:gzip|x-gzip|deflate|br|zstd|compress|x-compress|dcb|dcz)$/;
const NO_BYTES = Buffer.alloc(0);

export class ScrubSink implements ResponseSink {
  readonly #next: ResponseSink;
  readonly #parts: ScrubSinkParts;
  #body: BodyStream | undefined;
  #isText = false;

  constructor(next: ResponseSink, parts: ScrubSinkParts) {
    this.#next = next;
    this.#parts = parts;
  }

  start({ status, reason, headers }: ResponseHead, flow: Flow): void {
    const { exchange, scanner, serviceKey, tags } = this.#parts;
    const hasBody = exchange.method !== "HEAD" && status !== 204 && status !== 304 && headers["content-length"] !== "0";
    this.#isText = isTextLike(headers["content-type"]);
    if (hasBody && this.#isText && scanner() !== undefined) {
      const problem = whyUnsearchable(status, headers);
      if (problem !== undefined) throw unsearchable(serviceKey, problem);
      this.#body = new BodyStream(scanner);
    }
    scrubFields(headers, this.#isText, tags);
    this.#next.start({ status, reason, headers }, flow);
  }

  write(chunk: Buffer): void {
    if (this.#body === undefined) return this.#next.write(chunk);
    const bytes = this.#body.push(chunk);
    if (bytes.length > 0) this.#next.write(bytes);
    else this.#parts.deadline.touch();
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    scrubFields(trailers, this.#isText, this.#parts.tags);
    if (this.#body === undefined) return this.#next.end(trailers, last);
    const rest = this.#body.end(last ?? NO_BYTES);
    this.#next.end(trailers, rest.length === 0 ? undefined : rest);
  }

  /** What is held is dropped: it may be a part of a secret. */
  abort(error: GatewayError): void {
    this.#next.abort(error);
  }
}

/** Completes "github responded with". */
function whyUnsearchable(status: number, headers: ResponseHeaders): string | undefined {
  const encodings = [headers["content-encoding"] ?? ""]
    .flat()
    .flatMap((list) => list.split(","))
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== "" && coding !== "identity");
  // Only known names are shown: a header may repeat the credential.
  const shown = encodings.filter((coding) => KNOWN_CODINGS.test(coding)).join(", ");
  if (encodings.length > 0) return `${shown || "an unknown"} encoding, although the gateway asked for identity`;
  // A part may begin or end inside a secret.
  if (status === 206) return "a part of a body, although the gateway asked for all of it";
  const charset = unsearchableCharset(headers["content-type"]);
  return charset === undefined ? undefined : `text in ${charset}, which the gateway cannot search`;
}

function unsearchable(serviceKey: string, problem: string): GatewayError {
  return new GatewayError("UPSTREAM_PROTOCOL_ERROR", {
    message: `${serviceKey} responded with ${problem}. Its body was not relayed, because it may contain the credential.`,
    hint: `With \`scrubBodies\`, ${serviceKey} must send text as it is: unencoded, whole, and in an encoding that contains ASCII. Configure the upstream so, or set \`scrubBodies\` to false.`,
  });
}
