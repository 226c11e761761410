resource "aws_iam_openid_connect_provider" "writ" {
  url            = "https://writ.example.com/prod"
  client_id_list = ["sts.amazonaws.com"]
}

# arn:aws:iam::123456789012:role/writ/lake-reader
resource "aws_iam_role" "writ_lake-reader" {
  name = "lake-reader"
  path = "/writ/"

  assume_role_policy = <<-JSON
    {
      "Version": "2012-10-17",
      "Statement": [
        {
          "Sid": "WritProves",
          "Effect": "Allow",
          "Principal": {
            "Federated": "arn:aws:iam::123456789012:oidc-provider/writ.example.com/prod"
          },
          "Action": [
            "sts:AssumeRoleWithWebIdentity",
            "sts:SetSourceIdentity",
            "sts:TagSession"
          ],
          "Condition": {
            "ForAllValues:StringLike": {
              "aws:TagKeys": "writ:*"
            },
            "StringEquals": {
              "writ.example.com/prod:aud": "sts.amazonaws.com"
            },
            "StringLike": {
              "writ.example.com/prod:sub": [
                "k8s:prod:$${$}{x}:analyst",
                "k8s:prod:agents:*"
              ]
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
          "Sid": "WritProves",
          "Effect": "Allow",
          "Principal": {
            "Federated": "arn:aws:iam::210987654321:oidc-provider/writ.example.com/prod"
          },
          "Action": [
            "sts:AssumeRoleWithWebIdentity",
            "sts:SetSourceIdentity",
            "sts:TagSession"
          ],
          "Condition": {
            "ForAllValues:StringLike": {
              "aws:TagKeys": "writ:*"
            },
            "StringEquals": {
              "writ.example.com/prod:aud": "sts.amazonaws.com"
            },
            "StringLike": {
              "writ.example.com/prod:sub": [
                "k8s:prod:$${$}{x}:analyst",
                "k8s:prod:agents:*"
              ]
            }
          }
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
