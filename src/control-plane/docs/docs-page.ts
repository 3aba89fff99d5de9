/**
 * `/docs`: a page that shows the OpenAPI document and can send requests.
 * Invariant: the page loads nothing from other hosts and contacts none, has no inline script or style, and cannot be framed.
 */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createRoute, z } from "@hono/zod-openapi";
import { GatewayError } from "../../errors.ts";
import { version } from "../../version.ts";
import { forEveryone, header } from "../openapi/operations.ts";
import type { ControlPlane } from "../parts.ts";
import { ASSETS, builtFolder, installedFolder } from "./assets.ts";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** The URLs are relative, so that the page works under a path. They contain the version, because browsers cache the files. */
const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ByteProxy</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css?v=${version.version}">
</head>
<body>
<div id="reference"></div>
<script src="docs/swagger-ui-bundle.js?v=${version.version}"></script>
<script src="docs/start.js?v=${version.version}"></script>
</body>
</html>
`;

/**
 * Without a validator, because Swagger's runs on another host, and without storing the key that a user typed in.
 * The interceptor undoes the percent-encoding of slashes in the form field for the path.
 */
const START = String.raw`SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  requestInterceptor(request) {
    const inPath = /(\/proxy\/[^/]+\/)([^/?]+)(?=$|\?)/;
    request.url = request.url.replace(inPath, (_, proxy, path) => proxy + decodeURIComponent(path));
    return request;
  },
  tryItOutEnabled: true,
  validatorUrl: null,
});
`;

const FILES = ["swagger-ui.css", "swagger-ui-bundle.js", "start.js"] as const;

const pageRoute = createRoute({
  method: "get",
  path: "/docs",
  operationId: "getDocumentationPage",
  summary: "This document as a web page",
  description: "The page loads all files from the gateway and contacts no other host.",
  ...forEveryone("Documentation", "HOST_NOT_ALLOWED"),
  responses: {
    200: {
      description: "HTML.",
      headers: {
        "Cache-Control": header("`no-cache`"),
        "Content-Security-Policy": header("Allows the gateway's files only."),
      },
      content: { "text/html": { schema: z.string() } },
    },
  },
});

const fileRoute = createRoute({
  method: "get",
  path: "/docs/{file}",
  operationId: "getDocumentationFile",
  summary: "A file of the documentation page",
  parameters: [{ name: "file", in: "path", required: true, schema: { type: "string", enum: [...FILES] } }],
  ...forEveryone("Documentation", "HOST_NOT_ALLOWED", "NOT_FOUND"),
  responses: {
    200: {
      description: "A script or a style sheet.",
      headers: { "Cache-Control": header("One day.") },
      content: { "text/javascript": { schema: z.string() }, "text/css": { schema: z.string() } },
    },
  },
});

export function addDocsPage(app: ControlPlane): void {
  app.openapi(pageRoute, (context) => {
    // The page's relative URLs would lead to /docs/docs/...
    if (/^[^?]*\/(?:\?|$)/.test(context.env.incoming.url ?? "")) return context.redirect("../docs", 308) as never;
    assetFolder();
    return context.body(PAGE, 200, headersOf("text/html; charset=utf-8", "no-cache"));
  });
  app.openapi(fileRoute, async (context) => {
    const name = context.req.param("file");
    const aDay = "max-age=86400";
    if (name === "start.js") return context.body(START, 200, headersOf("text/javascript; charset=utf-8", aDay));
    if (!isAsset(name)) throw new GatewayError("NOT_FOUND", { message: "There is no route at this path." });
    return context.body(await readFile(join(assetFolder(), name)), 200, headersOf(ASSETS[name], aDay));
  });
}

function headersOf(contentType: string, caching: string): Record<string, string> {
  return {
    "Content-Type": contentType,
    "Cache-Control": caching,
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
  };
}

function isAsset(name: string): name is keyof typeof ASSETS {
  return Object.hasOwn(ASSETS, name);
}

/** @throws GatewayError if the files are neither built nor installed. */
function assetFolder(): string {
  if (existsSync(builtFolder)) return builtFolder;
  try {
    return installedFolder();
  } catch (cause) {
    throw new GatewayError("INTERNAL_ERROR", {
      message: "The files of the documentation page are missing.",
      hint: "Run `npm run build` to copy them. /openapi.json works without them.",
      cause,
    });
  }
}
