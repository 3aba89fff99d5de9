/** `/manage/services`: services listed, added, changed and taken back while the gateway serves. */
import type { Context, Hono } from "hono";
import { GatewayError } from "../../errors.ts";
import type { ServiceItem } from "../../registry/service-items.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { authorOf } from "./author.ts";
import { readJson } from "./read-json.ts";

type Ask = Context<CallerEnv, "/:key">;

export function addServiceRoutes(routes: Hono<CallerEnv>, parts: ControlPlaneParts): void {
  const { serviceChanges: changes } = parts;

  const answer = (context: Context<CallerEnv>, item: ServiceItem, status: 200 | 201 = 200) => {
    context.header("ETag", changes.entityTag(item.key));
    context.header("Cache-Control", "no-store");
    if (status === 201) context.header("Location", `/manage/services/${item.key}`);
    return context.json(item, status);
  };
  const conditions = ({ req }: Context<CallerEnv>) => ({
    ifMatch: req.header("If-Match"),
    ifNoneMatch: req.header("If-None-Match"),
  });

  routes.get("/services", (context) => {
    const services = changes.list();
    context.header("Cache-Control", "no-store");
    return context.json({ services, count: services.length });
  });
  routes.post("/services", async (context) => {
    const { key, config } = readEntry(await readJson(context));
    return answer(context, await changes.create(key, config, authorOf(context, parts)), 201);
  });
  routes.get("/services/:key", (context) => answer(context, changes.read(context.req.param("key"))));
  routes.put("/services/:key", async (context: Ask) => {
    const config = await readJson(context);
    const key = context.req.param("key");
    const { item, isNew } = await changes.replace(key, config, authorOf(context, parts), conditions(context));
    return answer(context, item, isNew ? 201 : 200);
  });
  routes.patch("/services/:key", async (context: Ask) => {
    const patch = await readJson(context);
    const key = context.req.param("key");
    return answer(context, await changes.patch(key, patch, authorOf(context, parts), conditions(context)));
  });
  routes.delete("/services/:key", async (context: Ask) => {
    await changes.remove(context.req.param("key"), authorOf(context, parts), conditions(context));
    return context.body(null, 204);
  });
}

/** `{key, config}`; what is in `config` is checked with the service. */
function readEntry(body: unknown): { readonly key: string; readonly config: unknown } {
  const entry: Readonly<Record<string, unknown>> =
    typeof body === "object" && body !== null && !Array.isArray(body) ? { ...body } : {};
  const { key, config, ...others } = entry;
  const details: Record<string, string[]> = {};
  if (typeof key !== "string")
    details.key = [`found ${key === undefined ? "nothing" : "no text"}, allowed: the service's key`];
  if (config === undefined) details.config = ["found nothing, allowed: a service"];
  for (const name of Object.keys(others)) details[name.slice(0, 64)] = ["unknown, allowed: key, config"];
  if (typeof key === "string" && Object.keys(details).length === 0) return { key, config };
  throw new GatewayError("VALIDATION_ERROR", {
    message: "The body is not of the form {key, config}.",
    extra: { details },
  });
}
