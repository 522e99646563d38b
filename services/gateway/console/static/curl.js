// The request as a command for a shell. The key is not in it, so the command can be pasted anywhere.

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(body) {
  return [
    `curl -N ${quoted(`${location.origin}/v1/chat/completions`)}`,
    '-H "Authorization: Bearer $OPENAI_API_KEY"',
    "-H 'Content-Type: application/json'",
    `-d ${quoted(JSON.stringify(body))}`,
  ].join(" \\\n  ");
}
