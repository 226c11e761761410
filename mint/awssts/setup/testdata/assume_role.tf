# arn:aws:iam::123456789012:role/writ/lake-reader
resource "aws_iam_role" "writ_lake-reader" {
  name = "lake-reader"
  path = "/writ/"

  assume_role_policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "WritAssumes",
          "Effect": "Allow",
          "Principal": {
            "AWS": "arn:aws:iam::123456789012:role/writ-broker"
          },
          "Action": "sts:AssumeRole",
          "Condition": {
            "StringEquals": {
              "sts:ExternalId": "writ-7f3a"
            }
          }
        },
        {
          "Sid": "WritSaysWho",
          "Effect": "Allow",
          "Principal": {
            "AWS": "arn:aws:iam::123456789012:role/writ-broker"
          },
          "Action": [
            "sts:SetSourceIdentity",
            "sts:TagSession"
          ],
          "Condition": {
            "ForAllValues:StringLike": {
              "aws:TagKeys": "writ:*"
            }
          }
        }
      ]
    }
  JSON
}

# arn:aws:iam::210987654321:role/lake-reader
resource "aws_iam_role" "writ_lake-reader_2" {
  name = "lake-reader"
  path = "/"

  assume_role_policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "WritAssumes",
          "Effect": "Allow",
          "Principal": {
            "AWS": "arn:aws:iam::123456789012:role/writ-broker"
          },
          "Action": "sts:AssumeRole",
          "Condition": {
            "StringEquals": {
              "sts:ExternalId": "writ-7f3a"
            }
          }
        },
        {
          "Sid": "WritSaysWho",
          "Effect": "Allow",
          "Principal": {
            "AWS": "arn:aws:iam::123456789012:role/writ-broker"
          },
          "Action": [
            "sts:SetSourceIdentity",
            "sts:TagSession"
          ],
          "Condition": {
            "ForAllValues:StringLike": {
              "aws:TagKeys": "writ:*"
            }
          }
        }
      ]
    }
  JSON
}

resource "aws_iam_policy" "writ-broker" {
  name   = "writ-broker"
  policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "BecomeTheRoles",
          "Effect": "Allow",
          "Action": [
            "sts:AssumeRole",
            "sts:SetSourceIdentity",
            "sts:TagSession"
          ],
          "Resource": [
            "arn:aws:iam::123456789012:role/writ/lake-reader",
            "arn:aws:iam::210987654321:role/lake-reader"
          ]
        }
      ]
    }
  JSON
}

resource "aws_iam_policy" "writ-revoker" {
  name   = "writ-revoker"
  policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "DenyRevokedSessions",
          "Effect": "Allow",
          "Action": [
            "iam:DeleteRolePolicy",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListRolePolicies",
            "iam:PutRolePolicy"
          ],
          "Resource": [
            "arn:aws:iam::123456789012:role/writ/lake-reader",
            "arn:aws:iam::210987654321:role/lake-reader"
          ]
        }
      ]
    }
  JSON
}
