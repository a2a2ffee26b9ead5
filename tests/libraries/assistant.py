"""Calls Waybill's tools with the library of the Model Context Protocol, as an assistant does.

    python assistant.py OPTIONS, with the python of requirements.txt

OPTIONS is a JSON object: `mode` (`legacy` greets with initialize, `auto` asks server/discover), and
`url` and `token`, or the `program` to start, which finds both in its environment. It prints one JSON
line: the `version` that was agreed on, the names of the `tools`, the text of `overview` and what a
call of a tool without its arguments says (`failure`).
"""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack

from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

options = json.loads(sys.argv[1])


async def transport(stack):
    if "program" in options:
        return StdioServerParameters(
            command=options["program"], args=["mcp"], env=dict(os.environ)
        )
    headers = {"Authorization": f"Bearer {options['token']}"}
    http = await stack.enter_async_context(create_mcp_http_client(headers=headers))
    return streamable_http_client(options["url"], http_client=http)


async def main():
    async with AsyncExitStack() as stack:
        server = await transport(stack)
        client = await stack.enter_async_context(Client(server, mode=options["mode"]))
        tools = (await client.list_tools()).tools
        overview = await client.call_tool("overview", {})
        failure = await client.call_tool("explain_event", {})
        assert not overview.is_error and failure.is_error
        found = {
            "version": client.protocol_version,
            "tools": [tool.name for tool in tools],
            "overview": overview.content[0].text,
            "failure": failure.content[0].text,
        }
        print(json.dumps(found), flush=True)


asyncio.run(main())
