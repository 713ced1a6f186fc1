"""The plan categories of every installation; clients rely on their ids, which are fixed.

`{doc}` is the document's text, `{env}` the project's `dev_environment`.
"""

from typing import Any

ASKS = "PlanGetRequest"
"""The executor's method that asks for a plan."""

EXECUTES = "PlanExecuteRequest"
"""The executor's method that carries a plan out."""

BUILTIN_CATEGORIES: tuple[dict[str, Any], ...] = (
    {
        "_id": 1,
        "name": "需求计划",
        "message_method": ASKS,
        "prompt_template": """你是一名产品经理。请根据下面的内容写一份需求计划，使用 Markdown。

要求：
1. 先用一段话说明背景与目标；
2. 逐条列出功能需求，每条写明使用者、场景和验收标准；
3. 列出性能、安全、兼容性等非功能需求；
4. 单独列出不做的事情，以及仍需确认的问题；
5. 只写内容中有依据的事，推测的部分请注明。

开发环境：
{env}

内容：
{doc}
""",
    },
    {
        "_id": 2,
        "name": "开发计划",
        "message_method": EXECUTES,
        "prompt_template": """你是一名架构师。请根据下面的内容写一份可执行开发计划，使用 Markdown。

要求：
1. 说明总体方案，以及放弃其它方案的理由；
2. 按先后顺序拆分任务，每项写明要改动的模块、接口和数据结构；
3. 写明每项任务完成的判断方法；
4. 指出风险，并给出应对和回退办法；
5. 方案必须适合给出的开发环境。

开发环境：
{env}

内容：
{doc}
""",
    },
    {
        "_id": 3,
        "name": "测试计划",
        "message_method": EXECUTES,
        "prompt_template": """你是一名测试工程师。请根据下面的内容写一份测试计划，使用 Markdown。

要求：
1. 说明测试范围、不测的部分和理由；
2. 用表格列出测试用例：编号、前置条件、步骤、预期结果；
3. 覆盖正常、边界、错误输入和并发的情况；
4. 说明需要的测试数据和环境，哪些用例应当自动化；
5. 写明通过的标准。

开发环境：
{env}

内容：
{doc}
""",
    },
    {
        "_id": 4,
        "name": "整改计划",
        "message_method": EXECUTES,
        "prompt_template": """你是一名技术负责人。请根据下面的内容写一份整改计划，使用 Markdown。

要求：
1. 逐条列出问题：现象、影响、根本原因；
2. 按紧急程度排序，给出每个问题的整改办法和步骤；
3. 写明如何验证问题已经解决；
4. 提出防止同类问题再次发生的措施。

开发环境：
{env}

内容：
{doc}
""",
    },
    {
        "_id": 5,
        "name": "知识库",
        "message_method": ASKS,
        "prompt_template": "{doc}",
    },
)
