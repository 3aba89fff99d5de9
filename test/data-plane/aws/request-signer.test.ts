/** SIGV4_REQUESTS sets the number of random requests: `SIGV4_REQUESTS=100000 npx vitest run test/data-plane/aws`. */
import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import { describe, expect, test } from "vitest";
import { createRequestSigner } from "../../../src/data-plane/aws/request-signer.ts";
import { type RandomRequest, RandomRequests } from "../../support/random-requests.ts";
import { findSignatureFault } from "../../support/signature-verifier.ts";

const COUNT = Number(process.env.SIGV4_REQUESTS ?? 500);
const NOW = Date.UTC(2026, 10, 30, 12, 0, 0);
const KEYS = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
  sessionToken: "tok/en+=",
};

class Sha256 {
  readonly #hash;
  constructor(secret?: string | Uint8Array) {
    this.#hash = secret === undefined ? createHash("sha256") : createHmac("sha256", secret);
  }
  update(bytes: Uint8Array) {
    this.#hash.update(bytes);
  }
  async digest() {
    return this.#hash.digest();
  }
  reset() {}
}

function signed({ method, path, headers, body }: RandomRequest, service: string, keys = { ...KEYS }) {
  const request = { method, origin: "https://api.example.com:8443", path, headers: [...headers], body };
  const isObjectStore = service === "s3";
  createRequestSigner(keys, { region: "eu-central-1", service }, { isObjectStore, separator: "," }, () => NOW)(request);
  return request;
}

describe("Signatures of AWS", () => {
  // https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Example: GET Bucket Lifecycle".
  test("The signature of the documentation's example (GET ?lifecycle) is the documented one", () => {
    const request = {
      method: "GET",
      origin: "https://examplebucket.s3.amazonaws.com",
      path: "/?lifecycle",
      headers: [] as string[],
    };
    const keys = {
      accessKeyId: "AKIAIOSFODNN7EXAMPLE",
      secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
      sessionToken: undefined,
    };
    const form = { isObjectStore: true, separator: "," } as const;
    createRequestSigner(keys, { region: "us-east-1", service: "s3" }, form, () => Date.UTC(2013, 4, 24))(request);
    expect(request.headers.at(-1)).toBe(
      "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
  });

  test.each(["s3", "dynamodb"])(
    "Random requests to %s have the signature of the AWS SDK's own signer",
    async (service) => {
      const random = new RandomRequests(1);
      const signer = new SignatureV4({
        ...{ service, region: "eu-central-1", credentials: KEYS, sha256: Sha256 as never },
        uriEscapePath: service !== "s3",
      });
      for (let i = 0; i < COUNT; i++) {
        const { pairs, ...request } = random.written();
        const headers: Record<string, string> = { host: "api.example.com:8443" };
        for (let at = 0; at < request.headers.length; at += 2)
          headers[request.headers[at] as string] = request.headers[at + 1] as string;
        const expected = await signer.sign(
          {
            ...{ method: request.method, protocol: "https:", hostname: "api.example.com", port: 8443, headers },
            ...{
              path: request.path.split("?")[0] as string,
              query: Object.fromEntries(pairs),
              body: request.body ?? undefined,
            },
          },
          { signingDate: new Date(NOW) },
        );
        const found = signed(request, service).headers.at(-1);
        // `expect` for each of them would take most of the time.
        if (found !== expected.headers.authorization)
          expect(found, JSON.stringify(request)).toBe(expected.headers.authorization);
      }
    },
  );

  test.each(["s3", "execute-api"])(
    "A strict verifier accepts the signature of any request to %s that HTTP allows",
    (service) => {
      const random = new RandomRequests(2);
      for (let i = 0; i < COUNT; i++) {
        const request = random.raw();
        const { headers } = signed(request, service);
        const received = {
          ...{ method: request.method, url: request.path, body: request.body ?? Buffer.alloc(0) },
          rawHeaders: ["Host", "api.example.com:8443", ...headers],
        };
        const fault = findSignatureFault(received, { ...KEYS, region: "eu-central-1", service }, NOW);
        expect(fault, JSON.stringify(request)).toBeUndefined();
      }
    },
  );

  test("Another secret, body, path, header or time has another signature", () => {
    const request = {
      method: "PUT",
      path: "/b/k?a=1",
      headers: ["X-Amz-Meta-A", "1", "X-Amz-Meta-A", "2"],
      body: Buffer.from("x"),
    };
    const { headers } = signed(request, "s3");
    const received = {
      method: "PUT",
      url: "/b/k?a=1",
      rawHeaders: ["Host", "api.example.com:8443", ...headers],
      body: request.body,
    };
    const account = { ...KEYS, region: "eu-central-1", service: "s3" };
    expect(findSignatureFault(received, account, NOW)).toBeUndefined();
    const changed = (text: string, to: string) => received.rawHeaders.map((each) => (each === text ? to : each));
    for (const other of [
      { ...received, url: "/b/k?a=2" },
      { ...received, url: "/b/K?a=1" },
      { ...received, method: "POST" },
      { ...received, body: Buffer.from("y") },
      { ...received, rawHeaders: changed("2", "3") },
      { ...received, rawHeaders: changed("api.example.com:8443", "api.example.com") },
    ]) {
      expect(findSignatureFault(other, account, NOW)).toBeDefined();
    }
    expect(findSignatureFault(received, { ...account, secretAccessKey: "x" }, NOW)).toContain("the signature");
    expect(findSignatureFault(received, account, NOW + 301_000)).toContain("the date");
  });

  test("The key of a signature is that of the day", () => {
    const request = (at: number) => {
      const made = { method: "GET", origin: "https://api.example.com", path: "/", headers: [] as string[] };
      sign(made, at);
      return {
        method: "GET",
        url: "/",
        rawHeaders: ["Host", "api.example.com", ...made.headers],
        body: Buffer.alloc(0),
      };
    };
    let now = 0;
    const scope = { region: "eu-central-1", service: "s3" };
    const signer = createRequestSigner(KEYS, scope, { isObjectStore: true, separator: "," }, () => now);
    const sign = (made: Parameters<typeof signer>[0], at: number) => {
      now = at;
      signer(made);
    };
    for (const at of [Date.UTC(2026, 11, 31, 23, 59, 59), Date.UTC(2027, 0, 1), Date.UTC(2026, 11, 31)]) {
      expect(findSignatureFault(request(at), { ...KEYS, ...scope }, at)).toBeUndefined();
    }
  });
});
