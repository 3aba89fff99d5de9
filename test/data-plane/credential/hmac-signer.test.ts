/** Signatures by HMAC, compared with the examples in the documentation of exchanges. */
import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { authSchema } from "../../../src/config/auth-schema.ts";
import { placementsOf } from "../../../src/config/placements.ts";
import { createHmacSigner } from "../../../src/data-plane/credential/hmac-signer.ts";

const secrets = { key: { envVar: "KEY" }, secret: { envVar: "SECRET" } };

function sign(
  auth: object,
  request: { method: string; path: string; body?: string },
  texts: Record<string, string>,
  at: number,
) {
  const definition = authSchema.parse({ type: "custom", secrets, ...auth });
  const places = placementsOf(definition).filter(({ isComputed }) => isComputed);
  const signer = createHmacSigner(definition.sign as never, places, new Map(Object.entries(texts)), () => at);
  const body = request.body === undefined ? null : Buffer.from(request.body, "latin1");
  const made = { ...request, origin: "https://x.example", headers: [] as string[], body };
  signer(made);
  return { path: made.path, headers: made.headers };
}

describe("HMAC signatures", () => {
  // https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security, "Example 1" and "Example 3".
  test("Binance: the signature of the documentation's order, in the query, after the other parameters", () => {
    const auth = {
      headers: { "X-MBX-APIKEY": "{key}" },
      query: { signature: "{signature}", timestamp: "{timestamp}" },
      sign: { secret: "secret", message: "{query}{body}" },
    };
    const secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    const order = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000";
    const { path } = sign(
      auth,
      { method: "POST", path: `/api/v3/order?${order}` },
      { key: "k", secret },
      1_499_827_319_559,
    );
    expect(path).toBe(
      `/api/v3/order?${order}&timestamp=1499827319559&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71`,
    );
  });

  // https://docs.cdp.coinbase.com/exchange/docs/rest-auth: base64 of the HMAC over timestamp + method + requestPath + body.
  test("Coinbase Exchange: time in seconds, path with query, a secret in base64 and a signature in base64", () => {
    const auth = {
      headers: { "CB-ACCESS-KEY": "{key}", "CB-ACCESS-SIGN": "{signature}", "CB-ACCESS-TIMESTAMP": "{timestamp}" },
      sign: {
        ...{ secret: "secret", message: "{timestamp}{method}{target}{body}" },
        ...{ encoding: "base64", secretEncoding: "base64", timestamp: "seconds" },
      },
    };
    const secret = Buffer.from("the key of the hmac").toString("base64");
    const request = { method: "POST", path: "/orders?a=1", body: '{"price":"é\u00ff"}' };
    const { headers, path } = sign(auth, request, { key: "k", secret }, 1_499_827_319_559);
    const text = Buffer.from(`1499827319POST/orders?a=1${request.body}`, "latin1");
    const signature = createHmac("sha256", "the key of the hmac").update(text).digest("base64");
    expect(headers).toEqual(["CB-ACCESS-SIGN", signature, "CB-ACCESS-TIMESTAMP", "1499827319"]);
    expect(path).toBe(request.path);
  });

  // https://www.okx.com/docs-v5/en/#overview-rest-authentication, https://bybit-exchange.github.io/docs/v5/guide#authentication.
  test("OKX and Bybit: an ISO time, and the key in the signed text", () => {
    const headers = { SIGN: "v1={signature}", TIME: "{timestamp}" };
    const rule = { secret: "secret", message: "{timestamp}{key}5000{query}", algorithm: "sha512", timestamp: "iso" };
    const found = sign(
      { headers, sign: rule },
      { method: "GET", path: "/v5/order?a=1&b=%20" },
      { key: "k", secret: "s" },
      0,
    );
    const signature = createHmac("sha512", "s").update("1970-01-01T00:00:00.000Zk5000a=1&b=%20").digest("hex");
    expect(found.headers).toEqual(["SIGN", `v1=${signature}`, "TIME", "1970-01-01T00:00:00.000Z"]);
  });
});
