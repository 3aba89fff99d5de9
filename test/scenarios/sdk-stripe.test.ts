/** Stripe's SDK, which takes a host and a port but no path: it reaches the service by the port of its own. */
import Stripe from "stripe";
import { describe, expect, test } from "vitest";
import { PROXY_KEY } from "../support/gateway.ts";
import { sendJson, startStandIn } from "../support/stand-in.ts";
import { bodyOf } from "../support/upstream.ts";

const SECRET = "sk_test_secretOfTheVendor0123456789";

async function startStripe(secret = SECRET) {
  const bodies: string[] = [];
  const standIn = await startStandIn("stripe", {
    hasPort: true,
    env: { STRIPE_SECRET_KEY: secret },
    accepts: ({ headers }) => headers.authorization === `Bearer ${SECRET}`,
    respond: async (req, res) => {
      bodies.push((await bodyOf(req)).toString());
      if (req.method === "POST") return sendJson(res, { id: "cus_1", object: "customer" });
      const isLast = req.url?.includes("starting_after=cus_1") === true;
      sendJson(res, {
        object: "list",
        url: "/v1/customers",
        has_more: !isLast,
        data: [{ id: isLast ? "cus_2" : "cus_1" }],
      });
    },
    refuse: (_, res) =>
      sendJson(res, { error: { type: "invalid_request_error", message: "Invalid API Key provided" } }, 401),
  });
  const create = (key: string) =>
    new Stripe(key, {
      host: "127.0.0.1",
      port: standIn.port,
      protocol: "http",
      maxNetworkRetries: 0,
      telemetry: false,
    });
  return { ...standIn, bodies, create };
}

describe("stripe", () => {
  test("Stripe's SDK creates a customer and pages through a list with the gateway's key as its API key", async () => {
    const { create, accepted, refused, bodies, received } = await startStripe();
    const stripe = create(PROXY_KEY);
    const customer = await stripe.customers.create({ email: "a+b@example.com" }, { idempotencyKey: "once" });
    expect(customer.id).toBe("cus_1");
    expect(bodies[0]).toBe("email=a%2Bb%40example.com");
    const ids: string[] = [];
    for await (const { id } of stripe.customers.list({ limit: 1 })) ids.push(id);
    expect(ids).toEqual(["cus_1", "cus_2"]);
    expect(accepted).toEqual([
      "POST /v1/customers",
      "GET /v1/customers?limit=1",
      "GET /v1/customers?limit=1&starting_after=cus_1",
    ]);
    expect(refused).toEqual([]);
    expect(received().toLowerCase()).toContain("idempotency-key: once");
  });

  test("Stripe's SDK reports the gateway's 401 by its status, and Stripe's as an authentication error", async () => {
    const { create, received } = await startStripe();
    await expect(create("not-a-key-of-the-gateway").balance.retrieve()).rejects.toMatchObject({ statusCode: 401 });
    expect(received()).toBe("");
    const other = await startStripe("sk_test_expired0123456789");
    await expect(other.create(PROXY_KEY).balance.retrieve()).rejects.toMatchObject({
      type: "StripeAuthenticationError",
      message: "Invalid API Key provided",
    });
    other.received();
  });
});
