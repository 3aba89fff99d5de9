/** `/manage/services`: services listed, added, changed and taken back while the gateway serves. */
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { GatewayError } from "../../errors.ts";
import { isObject } from "../../is-object.ts";
import { areMet } from "../../services/changes.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";
import { readJson } from "./read-json.ts";
import { createOne, listAll, patchOne, readOne, removeOne, replaceOne } from "./service-operations.ts";

export function addServiceRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { serviceChanges: changes } = parts;

  const describe = (context: Context<CallerEnv>, key: string) => {
    context.header("ETag", changes.entityTag(key));
    context.header("Cache-Control", "no-store");
  };
  const conditions = ({ req }: Context<CallerEnv>) => ({
    ifMatch: req.header("If-Match"),
    ifNoneMatch: req.header("If-None-Match"),
  });

  routes.openapi(listAll, (context) => {
    const services = changes.list();
    context.header("Cache-Control", "no-store");
    return context.json({ services, count: services.length }, 200);
  });
  routes.openapi(createOne, async (context) => {
    const { key, config } = readEntry(await readJson(context));
    const item = await changes.create(key, config, authorOf(context, parts));
    describe(context, key);
    context.header("Location", `/manage/services/${key}`);
    return context.json(item, 201);
  });
  routes.openapi(readOne, (context) => {
    const item = changes.read(context.req.param("key"));
    describe(context, item.key);
    const ifNoneMatch = context.req.header("If-None-Match");
    const isNews = areMet({ ifMatch: undefined, ifNoneMatch }, changes.entityTag(item.key));
    return isNews ? context.json(item, 200) : context.body(null, 304);
  });
  routes.openapi(replaceOne, async (context) => {
    const config = await readJson(context);
    const key = context.req.param("key");
    const { item, isNew } = await changes.replace(key, config, authorOf(context, parts), conditions(context));
    describe(context, key);
    if (!isNew) return context.json(item, 200);
    context.header("Location", `/manage/services/${key}`);
    return context.json(item, 201);
  });
  routes.openapi(patchOne, async (context) => {
    const patch = await readJson(context);
    const key = context.req.param("key");
    const item = await changes.patch(key, patch, authorOf(context, parts), conditions(context));
    describe(context, key);
    return context.json(item, 200);
  });
  routes.openapi(removeOne, async (context) => {
    await changes.remove(context.req.param("key"), authorOf(context, parts), conditions(context));
    return context.body(null, 204);
  });
}

/** `{key, config}`; what is in `config` is checked with the service. */
function readEntry(body: unknown): { readonly key: string; readonly config: unknown } {
  const { key, config, ...others } = isObject(body) ? body : {};
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
