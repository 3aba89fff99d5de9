/**
 * Takes the client's body for its attempts: whole, where it has to be sent again, changed or signed; else as a stream.
 * Invariant: what is held in memory is bounded: by the size of the body, and by a budget of all clients for the larger ones.
 */

import { GatewayError } from "../../errors.ts";
import type { SharedBudget } from "../../limits/shared-budget.ts";
import { onMalformedRest } from "../../perimeter/malformed-rest.ts";
import { malformedChunks, settlePayload } from "../aws/payload.ts";
import type { SignedChunks } from "../aws/signed-chunks.ts";
import { FORM_BYTES_LIMIT, formTooLarge, withoutFields } from "../credential/form-body.ts";
import type { Exchange } from "../exchange.ts";
import type { PreparedService } from "../prepared-service.ts";
import { outOfMemory } from "../signature/signed-body.ts";
import { type BodyDecoder, RequestBody } from "./request-body.ts";
import { isIdempotent, REPLAY_BODY_BYTES_LIMIT } from "./retry.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

export interface IntakeParts {
  /** The memory for bodies that are read before they are forwarded. */
  readonly signedBodies: SharedBudget;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
}

export interface Intake extends IntakeParts {
  readonly exchange: Exchange;
  readonly prepared: PreparedService;
  readonly request: UpstreamRequest;
  readonly onBytes: () => void;
  /** Ends the exchange. */
  readonly fail: (error: GatewayError) => void;
}

export class BodyIntake {
  readonly #intake: Intake;
  #upload: RequestBody | undefined;
  /** Bytes of the shared budget. */
  #taken = 0;
  #isHeld = false;

  constructor(intake: Intake) {
    this.#intake = intake;
  }

  /** Undefined for a body that was read before. */
  get upload(): RequestBody | undefined {
    return this.#upload;
  }

  /** @throws GatewayError */
  take(): Buffer | null | Promise<Buffer | RequestBody> {
    const { exchange } = this.#intake;
    if (exchange.body === undefined) return this.#read();
    return exchange.hasBody ? this.#settle(this.#decode(exchange.body)) : null;
  }

  /** The exchange is over. */
  end(): void {
    if (this.#taken > 0) this.#intake.signedBodies.release(this.#taken, this.#intake.exchange.clientAddress);
    this.#taken = 0;
  }

  /** A small body of an idempotent request is buffered, to be sent again; every other body streams. */
  async #read(): Promise<Buffer | RequestBody> {
    const { exchange, request, fail } = this.#intake;
    const { payload } = request;
    // HTTP/1.0 has no interim responses (RFC 9110 section 10.1.1).
    if (exchange.expectsContinue && exchange.req.httpVersionMinor > 0) exchange.res.writeContinue();
    const decoder = payload?.chunks && decoderOf(payload.chunks, fail);
    const upload = new RequestBody(exchange.req, (length) => this.#onBytes(length), decoder);
    this.#upload = upload;
    onMalformedRest(exchange.req, fail);
    const limit = this.#bufferLimit;
    if (limit === 0 || exchange.hasClientLeft) return upload;
    exchange.onClose = () => upload.cancel(new Error("the client left while it sent its body"));
    this.#isHeld = payload !== undefined && payload.bufferedBytes > 0;
    try {
      const body = await upload.collectUpTo(limit);
      this.#isHeld = false;
      if (body === undefined) upload.onHeldSent = () => this.end();
      return this.#settle(body) ?? upload;
    } catch (error) {
      if (exchange.hasClientLeft) return upload;
      upload.stop();
      throw error;
    }
  }

  /** Bytes; 0 for a body that streams. */
  get #bufferLimit(): number {
    const { exchange, request } = this.#intake;
    if (request.payload !== undefined && request.payload.bufferedBytes > 0) return request.payload.bufferedBytes;
    if (this.#isForm) return Number.POSITIVE_INFINITY;
    const { announcedBytes = Number.POSITIVE_INFINITY } = exchange;
    return isIdempotent(exchange.method) && announcedBytes <= REPLAY_BODY_BYTES_LIMIT ? Number.POSITIVE_INFINITY : 0;
  }

  /** Of a form, the injection adds the credential's fields for each attempt. @param body undefined for one that streams. */
  #settle<B extends Buffer | undefined>(body: B): B {
    const { request, prepared } = this.#intake;
    if (request.payload !== undefined && prepared.payloads !== undefined) {
      settlePayload(prepared.payloads, request.payload, body);
    }
    const { rarePlaces } = request;
    if (rarePlaces?.form !== undefined && prepared.placePlan !== undefined && body !== undefined) {
      rarePlaces.form = withoutFields(body, prepared.placePlan);
    }
    return body;
  }

  /** Enforces limits for a body that announced no length. */
  #onBytes(length: number): void {
    const { exchange, prepared, fail, onBytes, signedBodies, retryAfterS } = this.#intake;
    exchange.bytesIn += length;
    onBytes();
    const { key, maxBodyBytes } = prepared.service;
    if (this.#isForm && exchange.bytesIn > FORM_BYTES_LIMIT) fail(formTooLarge(key));
    else if (maxBodyBytes > 0 && exchange.bytesIn > maxBodyBytes) {
      const message = `${key} accepts bodies of at most ${maxBodyBytes} bytes.`;
      fail(new GatewayError("PAYLOAD_TOO_LARGE", { message }));
    } else if (this.#isHeld) {
      this.#taken += length;
      if (!signedBodies.take(length, exchange.clientAddress)) {
        fail(outOfMemory({ serviceKey: key, budget: signedBodies, retryAfterS }));
      }
    }
  }

  /** The body is a form that carries the credential. */
  get #isForm(): boolean {
    return this.#intake.request.rarePlaces?.form !== undefined;
  }

  /** A whole body without the client's signed chunks. @throws GatewayError */
  #decode(body: Buffer): Buffer {
    const chunks = this.#intake.request.payload?.chunks;
    if (chunks === undefined) return body;
    try {
      return Buffer.concat([...chunks.push(body), chunks.end()]);
    } catch (error) {
      throw malformedChunks(error);
    }
  }
}

function decoderOf(chunks: SignedChunks, fail: (error: GatewayError) => void): BodyDecoder {
  return {
    push(chunk) {
      try {
        return chunks.push(chunk);
      } catch (error) {
        fail(malformedChunks(error));
        return [];
      }
    },
    end() {
      try {
        return chunks.end();
      } catch (error) {
        fail(malformedChunks(error));
        return undefined;
      }
    },
  };
}
