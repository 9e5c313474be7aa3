-- A text that may not leave at night waits for each zone in which its recipient can be.
set role ringfence_owner;

-- As in V0013, with the zones that lie outside of a country's main part. Where the digits after the country's calling code say
-- which part a number is of, they decide: North America's area codes, by their places in the North American Numbering Plan;
-- of those of the contiguous land none does, for a state has several zones, and those of no place can be anywhere.
create or replace function app.zones_of_number(number text) returns text[] language sql immutable return (
  select z.zones from (values
    ('1', array['America/New_York', 'America/Chicago', 'America/Denver', 'America/Los_Angeles']),
    ('1907', array['America/Anchorage', 'America/Adak']), ('1808', array['Pacific/Honolulu']),
    ('1428 1506 1782 1902', array['America/Halifax']), ('1709 1879', array['America/St_Johns', 'America/Halifax']),
    ('1367 1418 1581', array['America/Toronto', 'America/Halifax', 'America/Puerto_Rico']),
    ('1264 1268 1284 1340 1473 1664 1721 1758 1767 1784 1787 1868 1869 1939', array['America/Puerto_Rico']),
    ('1242', array['America/Toronto']), ('1246', array['America/Barbados']), ('1345', array['America/Panama']),
    ('1441', array['Atlantic/Bermuda']), ('1649', array['America/Grand_Turk']), ('1658 1876', array['America/Jamaica']),
    ('1809 1829 1849', array['America/Santo_Domingo']), ('1670 1671', array['Pacific/Guam']), ('1684', array['Pacific/Pago_Pago']),
    ('1500 1521 1522 1523 1524 1525 1526 1527 1528 1529 1532 1533 1535 1538 1542 1543 1544 1545 1546 1547 1549 1550 1552 1553 1554 1556 '
      || '1566 1569 1577 1578 1588 1589 1600 1622 1700 1710 1800 1833 1844 1855 1866 1877 1888 1900',
      array['America/New_York', 'America/Chicago', 'America/Denver', 'America/Los_Angeles', 'America/Anchorage', 'America/Adak',
        'Pacific/Honolulu', 'America/Halifax', 'America/St_Johns', 'America/Puerto_Rico']),
    ('7', array['Europe/Kaliningrad', 'Europe/Moscow', 'Europe/Samara', 'Asia/Yekaterinburg', 'Asia/Omsk', 'Asia/Novosibirsk',
      'Asia/Irkutsk', 'Asia/Yakutsk', 'Asia/Vladivostok', 'Asia/Magadan', 'Asia/Kamchatka']),
    ('76 77', array['Asia/Almaty']),
    ('20', array['Africa/Cairo']), ('27', array['Africa/Johannesburg']), ('30', array['Europe/Athens']),
    ('31', array['Europe/Amsterdam']), ('32', array['Europe/Brussels']), ('33', array['Europe/Paris']),
    ('34', array['Europe/Madrid', 'Atlantic/Canary']), ('36', array['Europe/Budapest']), ('39', array['Europe/Rome']),
    ('40', array['Europe/Bucharest']), ('41', array['Europe/Zurich']), ('43', array['Europe/Vienna']),
    ('44', array['Europe/London']), ('45', array['Europe/Copenhagen']), ('46', array['Europe/Stockholm']),
    ('47', array['Europe/Oslo']), ('48', array['Europe/Warsaw']), ('49', array['Europe/Berlin']), ('51', array['America/Lima']),
    ('52', array['America/Mexico_City', 'America/Cancun', 'America/Matamoros', 'America/Mazatlan', 'America/Hermosillo', 'America/Tijuana']),
    ('54', array['America/Argentina/Buenos_Aires']),
    ('55', array['America/Noronha', 'America/Sao_Paulo', 'America/Manaus', 'America/Rio_Branco']),
    ('56', array['America/Santiago', 'America/Punta_Arenas', 'Pacific/Easter']), ('57', array['America/Bogota']),
    ('60', array['Asia/Kuala_Lumpur']),
    ('61', array['Australia/Sydney', 'Australia/Lord_Howe', 'Australia/Brisbane', 'Australia/Adelaide', 'Australia/Darwin',
      'Australia/Eucla', 'Australia/Perth']),
    ('6189162', array['Indian/Cocos']), ('6189164', array['Indian/Christmas']),
    ('62', array['Asia/Jakarta', 'Asia/Makassar', 'Asia/Jayapura']), ('63', array['Asia/Manila']),
    ('64', array['Pacific/Auckland', 'Pacific/Chatham']), ('65', array['Asia/Singapore']), ('66', array['Asia/Bangkok']),
    ('81', array['Asia/Tokyo']), ('82', array['Asia/Seoul']), ('84', array['Asia/Ho_Chi_Minh']), ('86', array['Asia/Shanghai']),
    ('90', array['Europe/Istanbul']), ('91', array['Asia/Kolkata']), ('92', array['Asia/Karachi']), ('94', array['Asia/Colombo']),
    ('234', array['Africa/Lagos']), ('243', array['Africa/Kinshasa', 'Africa/Lubumbashi']), ('254', array['Africa/Nairobi']),
    ('262', array['Indian/Reunion', 'Indian/Mayotte']), ('299', array['America/Nuuk', 'America/Scoresbysund', 'America/Thule']),
    ('351', array['Europe/Lisbon', 'Atlantic/Azores']), ('353', array['Europe/Dublin']), ('358', array['Europe/Helsinki']),
    ('380', array['Europe/Kyiv']), ('420', array['Europe/Prague']), ('593', array['America/Guayaquil', 'Pacific/Galapagos']),
    ('675', array['Pacific/Port_Moresby', 'Pacific/Bougainville']), ('686', array['Pacific/Tarawa', 'Pacific/Fakaofo', 'Pacific/Kiritimati']),
    ('689', array['Pacific/Tahiti', 'Pacific/Marquesas', 'Pacific/Gambier']), ('691', array['Pacific/Port_Moresby', 'Pacific/Kosrae']),
    ('852', array['Asia/Hong_Kong']), ('880', array['Asia/Dhaka']), ('886', array['Asia/Taipei']), ('966', array['Asia/Riyadh']),
    ('971', array['Asia/Dubai']), ('972', array['Asia/Jerusalem']), ('976', array['Asia/Ulaanbaatar', 'Asia/Hovd'])
  ) z (prefixes, zones), unnest(string_to_array(z.prefixes, ' ')) prefix
  where starts_with($1, '+' || prefix) order by length(prefix) desc limit 1);

reset role;
